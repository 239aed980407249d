module sysbench

go 1.24
