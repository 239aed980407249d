// SPDX-License-Identifier: MIT

// Grpc asks the health service of the server that its argument names, by unary calls and by a stream.
// With -listen it is a server, which changes its health all the time; with neither it is both.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	pb "google.golang.org/grpc/health/grpc_health_v1"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serve(listener net.Listener) {
	server := grpc.NewServer()
	status := health.NewServer()
	pb.RegisterHealthServer(server, status)
	go func() {
		for i := 0; ; i++ {
			time.Sleep(10 * time.Millisecond)
			status.SetServingStatus("changing", pb.HealthCheckResponse_ServingStatus(1+i%2))
		}
	}()
	log.Fatal(server.Serve(listener))
}

func ask(address string) {
	connection := must(grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer connection.Close()
	client := pb.NewHealthClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for range 50 {
		if answer := must(client.Check(ctx, &pb.HealthCheckRequest{})); answer.Status != pb.HealthCheckResponse_SERVING {
			log.Fatal(answer)
		}
	}
	stream := must(client.Watch(ctx, &pb.HealthCheckRequest{Service: "changing"}))
	last := must(stream.Recv()).Status
	for range 20 {
		next := must(stream.Recv()).Status
		if next == last {
			log.Fatal(next, " again")
		}
		last = next
	}
	fmt.Println("50 calls, 20 changes")
}

func main() {
	address := flag.String("listen", "", "where to listen")
	flag.Parse()
	switch {
	case *address != "":
		serve(must(net.Listen("tcp", *address)))
	case flag.NArg() != 0:
		ask(flag.Arg(0))
	default:
		listener := must(net.Listen("tcp", "127.0.0.1:0"))
		go serve(listener)
		ask(listener.Addr().String())
	}
}
