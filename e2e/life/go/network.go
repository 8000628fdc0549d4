package main

import (
	"os"
	"strings"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const reachProgram = `
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
try:
    with socket.create_connection((sys.argv[1], 443), 60) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[1]) as secure:
            print(secure.recv(100).decode().strip())
except OSError:
    print("closed")
`

const authorizeProgram = `
import sys, urllib.request
request = urllib.request.Request(f"https://{sys.argv[1]}/", headers={"Authorization": "placeholder"})
print(urllib.request.urlopen(request, timeout=60).headers["x-authorization"])
`

func secretHeaders(t t) {
	putting := func(value string) *modal.ExperimentalOutboundPolicy {
		policy := modal.NewExperimentalOutboundPolicy(modal.ExperimentalOutboundPolicyHeaderReplacement{
			Domain: "*", Headers: map[string]string{"Authorization": value},
		})
		return &policy
	}
	sandbox := t.create(&modal.SandboxCreateParams{ExperimentalOutboundPolicy: putting("a $$")})
	defer t.terminate(sandbox)
	authorize := func(host string) string {
		_, stdout, _ := t.output(sandbox, nil, "python3", "-c", authorizeProgram, host)
		return stdout
	}
	equal(authorize("allowed.test"), "a $\n")
	check(sandbox.ExperimentalUpdateOutboundPolicy(t.ctx, putting("b")))
	equal(authorize("allowed.test"), "b\n")
	check(sandbox.ExperimentalUpdateOutboundPolicy(t.ctx, nil))
	equal(authorize("allowed.test"), "placeholder\n")
}

func domains(t t) {
	address := os.Getenv("LIFE_INTERNET")
	list := func(entries ...string) *modal.Allowlist { return &modal.Allowlist{Entries: entries} }
	sandbox := t.create(&modal.SandboxCreateParams{OutboundDomainAllowlist: list("allowed.test")})
	defer t.terminate(sandbox)
	reach := func(host string) string {
		_, stdout, _ := t.output(sandbox, nil, "python3", "-c", reachProgram, host)
		return stdout
	}
	equal(reach("allowed.test"), address+" allowed.test\n")
	equal(reach("other.test"), "closed\n")
	update := func(cidrs, domains *modal.Allowlist) {
		check(sandbox.UpdateNetworkPolicy(t.ctx, &modal.SandboxUpdateNetworkPolicyParams{
			OutboundCIDRAllowlist: cidrs, OutboundDomainAllowlist: domains,
		}))
	}
	update(list(), list("other.test"))
	equal(reach("allowed.test"), "closed\n")
	equal(reach("other.test"), address+" other.test\n")
	update(list("0.0.0.0/0", "::/0"), list("*"))
	equal(reach("allowed.test"), address+" allowed.test\n")
	_, err := t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{OutboundDomainAllowlist: list("no domain")})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "Invalid domain: no domain") {
		fail("%T: %v", err, err)
	}
}
