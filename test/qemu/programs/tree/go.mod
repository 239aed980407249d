module tree

go 1.24
