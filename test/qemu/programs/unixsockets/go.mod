module unixsockets

go 1.24
