module https

go 1.26.0
