//! The image of a pod's first container, which is prepared while its VM is started.

use std::path::PathBuf;

use tokio::sync::oneshot;

/// An image that can be in a disk slot from the VM's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its file, which is at least as long as a slot.
    pub path: PathBuf,
    /// Length of the content in bytes, without what pads the file.
    pub bytes: u64,
}

/// The first container's image, which may be prepared while the VM is started. A start never waits
/// for it: an image that is not prepared in time is attached to the running VM.
#[derive(Debug, Default)]
pub struct FirstImage {
    coming: Option<oneshot::Receiver<Image>>,
    known: Option<Image>,
}

impl FirstImage {
    /// There is none: the VM is started without a container.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// There may be one; the sender sends it when it is prepared.
    #[must_use]
    pub fn coming() -> (oneshot::Sender<Image>, Self) {
        let (prepared, coming) = oneshot::channel();
        let image = Self {
            coming: Some(coming),
            known: None,
        };
        (prepared, image)
    }

    /// The image, if it is prepared by now.
    pub fn known(&mut self) -> Option<&Image> {
        if let Some(coming) = &mut self.coming
            && let Ok(image) = coming.try_recv()
        {
            self.known = Some(image);
            self.coming = None;
        }
        self.known.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_from_the_moment_it_is_prepared() {
        let (prepared, mut first) = FirstImage::coming();
        assert_eq!(first.known(), None);
        let image = Image {
            path: "/image".into(),
            bytes: 7,
        };
        prepared.send(image.clone()).unwrap();
        assert_eq!(first.known(), Some(&image));
        assert_eq!(first.known(), Some(&image));
        assert_eq!(FirstImage::none().known(), None);

        let (dropped, mut never) = FirstImage::coming();
        drop(dropped);
        assert_eq!(never.known(), None);
    }
}
