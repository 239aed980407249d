module network

go 1.24
