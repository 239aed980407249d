module sigterm

go 1.24
