HTTP/1.1 204 
Server: Cloud Hypervisor API
Connection: keep-alive
