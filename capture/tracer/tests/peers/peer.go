// peer serve HOST CERTIFICATE KEY: as server.py. peer ask HOST PORT CONNECTIONS PATH...: as client.py.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

func body(path string) []byte {
	length, _ := strconv.Atoi(path[strings.LastIndex(path, "/")+1:])
	return []byte(strings.Repeat(path, length/len(path)+1)[:length])
}

func ask(host, port string, number int, paths []string) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxConnsPerHost: 1}
	client := http.Client{Transport: transport}
	for _, path := range paths {
		path = strings.ReplaceAll(path, "@", strconv.Itoa(number))
		response, err := client.Get("https://" + net.JoinHostPort(host, port) + path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		content, _ := io.ReadAll(response.Body)
		if string(content) != string(body(path)) {
			os.Exit(1)
		}
	}
	transport.CloseIdleConnections()
}

func main() {
	if os.Args[1] == "serve" {
		listener, err := net.Listen("tcp", net.JoinHostPort(os.Args[2], "0"))
		if err != nil {
			panic(err)
		}
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		answer := func(response http.ResponseWriter, request *http.Request) {
			content := body(request.URL.Path)
			response.Header().Set("Content-Length", strconv.Itoa(len(content)))
			response.Write(content)
		}
		panic(http.ServeTLS(listener, http.HandlerFunc(answer), os.Args[3], os.Args[4]))
	}
	connections, _ := strconv.Atoi(os.Args[4])
	var all sync.WaitGroup
	for number := 0; number < connections; number++ {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			ask(os.Args[2], os.Args[3], number, os.Args[5:])
		}(number)
	}
	all.Wait()
}
