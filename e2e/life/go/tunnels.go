package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// serve is what this program does inside a sandbox: HTTP/1.1, HTTP/2 and gRPC on one port without TLS.
func serve(address string) {
	calls := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(calls, health.NewServer())
	server := http.Server{Addr: address, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && r.Header.Get("Content-Type") == "application/grpc" {
			calls.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Proto, r.URL.Path, len(body))
	})
	panic(server.ListenAndServe())
}

// serving starts this very program in a sandbox.
func (t t) serving(params *modal.SandboxCreateParams) *modal.Sandbox {
	sandbox := t.create(params)
	program := must(os.ReadFile(must(os.Executable())))
	check(sandbox.Filesystem.WriteBytes(t.ctx, program, "/serve", nil))
	t.sh(sandbox, "chmod +x /serve")
	t.exec(sandbox, &modal.SandboxExecParams{Stdout: modal.Ignore, Stderr: modal.Ignore}, "/serve", "serve", "127.0.0.1:8000")
	return sandbox
}

func trusted() *tls.Config {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(must(os.ReadFile(os.Getenv("LIFE_CA_FILE"))))
	return &tls.Config{RootCAs: authorities}
}

func get(client *http.Client, url string) string {
	response := must(client.Get(url))
	defer response.Body.Close()
	return string(must(io.ReadAll(response.Body)))
}

func http2(t t) {
	sandbox := t.serving(&modal.SandboxCreateParams{H2Ports: []int{8000}})
	defer t.terminate(sandbox)
	tunnel := must(sandbox.Tunnels(t.ctx, 60*time.Second, nil))[8000]
	two := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted(), ForceAttemptHTTP2: true}}
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted(), Protocols: new(http.Protocols)}}
	one.Transport.(*http.Transport).Protocols.SetHTTP1(true)
	equal(get(two, tunnel.URL()+"/a"), "HTTP/2.0 /a 0")
	equal(get(one, tunnel.URL()+"/a"), "HTTP/1.1 /a 0")
	big := must(two.Post(tunnel.URL()+"/big", "", io.LimitReader(zeros{}, 20_000_000)))
	equal(string(must(io.ReadAll(big.Body))), "HTTP/2.0 /big 20000000")
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

func encryptedIsOne(t t) {
	sandbox := t.serving(&modal.SandboxCreateParams{EncryptedPorts: []int{8000}, UnencryptedPorts: []int{8001}})
	defer t.terminate(sandbox)
	tunnels := must(sandbox.Tunnels(t.ctx, 60*time.Second, nil))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted(), ForceAttemptHTTP2: true}}
	equal(get(client, tunnels[8000].URL()+"/"), "HTTP/1.1 / 0")
	_, _, err := tunnels[8000].TCPSocket()
	raised[modal.InvalidError](err)
	host, port := tunnels[8001].TLSSocket()
	plainHost, plainPort, err := tunnels[8001].TCPSocket()
	check(err)
	equal(plainHost, host)
	equal(plainPort != port, true)
}

func grpcCalls(t t) {
	sandbox := t.serving(&modal.SandboxCreateParams{H2Ports: []int{8000}})
	defer t.terminate(sandbox)
	host, port := must(sandbox.Tunnels(t.ctx, 60*time.Second, nil))[8000].TLSSocket()
	connection := must(grpc.NewClient(fmt.Sprintf("%s:%d", host, port), grpc.WithTransportCredentials(credentials.NewTLS(trusted()))))
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.ctx, 60*time.Second)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(connection)
	answer := must(client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)))
	equal(answer.Status, grpc_health_v1.HealthCheckResponse_SERVING)
	stream := must(client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"}))
	equal(must(stream.Recv()).Status, grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN)
}
