module github.com/fa5182d2/messaging

go 1.26
