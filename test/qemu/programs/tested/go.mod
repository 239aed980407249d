module tested

go 1.24
