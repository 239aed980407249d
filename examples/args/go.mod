module args

go 1.24
