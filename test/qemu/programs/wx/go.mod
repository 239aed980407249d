module wx

go 1.24
