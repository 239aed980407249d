module webserver

go 1.24
