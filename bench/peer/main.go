// Command peer is what section g measures with: a gRPC server, a WebSocket echo,
// and the reverse proxy of Go's standard library to stand in front of the former.
//
//	PORT=n peer grpc            gRPC echo without TLS
//	PORT=n peer websocket       WebSocket echo
//	PORT=n peer proxy HOST:PORT httputil.ReverseProxy, HTTP/2 on both sides
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] == "proxy" && len(os.Args) < 3 {
		log.Fatal("usage: peer grpc | websocket | proxy HOST:PORT")
	}
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	switch os.Args[1] {
	case "grpc":
		err = serveGRPC(l)
	case "websocket":
		err = http.Serve(l, http.HandlerFunc(echoSocket))
	case "proxy":
		err = serveProxy(l, os.Args[2])
	default:
		err = fmt.Errorf("unknown peer %q", os.Args[1])
	}
	log.Fatal(err)
}

// serveProxy is the reverse proxy as its documentation has it for gRPC.
func serveProxy(l net.Listener, to string) error {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0) // calls that are cut off when a measurement ends
	plain := new(http.Protocols)
	plain.SetUnencryptedHTTP2(true)
	proxy.Transport = &http.Transport{Protocols: plain, DisableCompression: true}
	s := &http.Server{Handler: proxy, Protocols: plain, ErrorLog: log.New(io.Discard, "", 0)}
	return s.Serve(l)
}
