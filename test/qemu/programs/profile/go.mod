module profile

go 1.24
