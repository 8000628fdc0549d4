package main

import (
	"io"
	"net/http"
	"strings"

	"github.com/modal-labs/modal-client/go"
)

const printUser = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['X-Verified-User-Data']}".encode())
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
`

func connect(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{Command: []string{"python3", "-c", printUser}})
	defer t.terminate(sandbox)
	params := &modal.SandboxCreateConnectTokenParams{UserMetadata: `{"user": "foo"}`}
	granted := must(sandbox.CreateConnectToken(t.ctx, params))
	ask := func(token string) (int, string) {
		request := must(http.NewRequestWithContext(t.ctx, "GET", granted.URL+"/a?b", nil))
		request.Header.Set("Authorization", "Bearer "+token)
		answer := must(http.DefaultClient.Do(request))
		defer answer.Body.Close()
		return answer.StatusCode, string(must(io.ReadAll(answer.Body)))
	}
	status, body := ask(granted.Token)
	equal(status, 200)
	equal(body, `/a?b {"user": "foo"}`)
	status, _ = ask("wrong")
	equal(status, 401)
	other := must(sandbox.CreateConnectToken(t.ctx, &modal.SandboxCreateConnectTokenParams{Port: 9000}))
	status, body = ask(other.Token)
	equal(status, 403)
	if !strings.Contains(body, "port 9000") {
		fail("%q", body)
	}
}
