/*
 * The guest of the KVM probe: firmware for a machine with 16 MiB of RAM, linked at ff000h.
 *
 * An ordinary guest kernel needs long mode, paging, a user mode that computes, and a way back from
 * it into the kernel; it needs all of that at the speed of hardware. So this goes to user mode,
 * computes, faults on a page that is not there, computes in the kernel, and reports.
 *
 * RAM: 10000h page tables, 13000h descriptors, 14000h task state, 15000h interrupt gates,
 * 18000h to 1c000h stacks. Everything else in RAM is zero.
 *
 * The bytes are in payload.rs; a test compares them.
 */
        .set ROUNDS, 20000000
        .set ABSENT, 0x200000
        .set EXIT_PORT, 0xf4
        .set SUCCESS, 0x10

        .code16
start:  cli
        lgdtl   %cs:(first_table - 0xf0000)
        movl    %cr0, %eax
        orb     $1, %al                         /* protection */
        movl    %eax, %cr0
        ljmpl   $0x08, $protected

        .code32
protected:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $descriptors, %esi              /* the CPU marks descriptors, so they are in RAM */
        movl    $0x13000, %edi
        movl    $16, %ecx
        cld
        rep movsl
        lgdt    second_table
        movl    $0x11007, 0x10000               /* user, writable, present */
        movl    $0x12007, 0x11000
        movl    $0x87, 0x12000                  /* the first 2 MiB; the next are absent */
        movl    $0x10000, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x620, %eax                    /* PAE, SSE */
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax                    /* long mode */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000002, %eax               /* paging, coprocessor */
        andl    $0xfffffffb, %eax
        movl    %eax, %cr0
        ljmp    $0x18, $long

        .code64
long:   movl    $0x18000, 0x14004               /* stack of the kernel */
        movl    $(0x180000 + fault - 0xf0000), 0x150e0
        movl    $0x000f8e00, 0x150e4
        lidt    gates
        movl    $0x30, %eax
        ltr     %ax
        movl    $0x1a000, %esp
        pushq   $0x23
        pushq   $0x1c000
        pushq   $2
        pushq   $0x2b
        pushq   $user
        iretq

user:   movl    $ROUNDS, %ecx
1:      cvtsi2sdl %ecx, %xmm0
        decl    %ecx
        jnz     1b
        movl    ABSENT, %eax
        hlt

fault:  movq    %cr2, %rax
        cmpl    $ABSENT, %eax
        jne     2f
        movl    $ROUNDS, %ecx
1:      decl    %ecx
        jnz     1b
        movb    $SUCCESS, %al
        outb    %al, $EXIT_PORT
2:      hlt

        .balign 8
descriptors:
        .quad   0
        .quad   0x00cf9b000000ffff              /* 08h: kernel code, 32 bits */
        .quad   0x00cf93000000ffff              /* 10h: kernel data */
        .quad   0x00af9b000000ffff              /* 18h: kernel code, 64 bits */
        .quad   0x00cff3000000ffff              /* 20h: user data */
        .quad   0x00affb000000ffff              /* 28h: user code, 64 bits */
        .quad   0x0000890140000067, 0           /* 30h: task state at 14000h */
first_table:
        .word   63
        .long   descriptors
second_table:
        .word   63
        .long   0x13000
gates:  .word   0xff
        .quad   0x15000
