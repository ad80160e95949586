module github.com/fa5182d2/messaging

go 1.26

require go.uber.org/goleak v1.3.0
