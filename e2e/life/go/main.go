// The life of sandboxes through the official Go client: what the Python programs do, in this client's calls.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modal-labs/modal-client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		serve(os.Args[2])
	}
	// What needs a server of its own.
	if os.Getenv("LIFE_CA_FILE") != "" {
		runAll([]testCase{
			{"HTTP/2 and HTTP/1.1 on one port", http2},
			{"an encrypted port speaks HTTP/1.1, an unencrypted one has two addresses", encryptedIsOne},
			{"gRPC, a stream too", grpcCalls},
		})
		return
	}
	if os.Getenv("LIFE_GPU_LIBRARY") != "" {
		runAll([]testCase{{"a GPU is had, refused while it is taken, and free again", gpus}})
		return
	}
	if os.Getenv("LIFE_INTERNET") != "" {
		runAll([]testCase{
			{"domains are allowed, and changed while it runs", domains},
			{"headers are put in that the sandbox does not know", secretHeaders},
		})
		return
	}
	if os.Getenv("LIFE_QUOTAS") != "" {
		runAll([]testCase{{"quotas are told at once, and how long to wait is waited", quotas}})
		return
	}
	// Takes gVisor.
	if os.Getenv("LIFE_MEMORY") != "" {
		runAll([]testCase{{"a program goes on in a copy", goesOn}})
		return
	}
	if os.Getenv("LIFE_BUCKETS") != "" {
		runAll([]testCase{{"buckets are mounted, whole and in part", buckets}})
		return
	}
	if os.Getenv("LIFE_IMAGES") != "" {
		runAll([]testCase{
			{"commands have their variables and secrets, which are no part of the image", buildVariables},
			{"a forced build replaces what was cached", forcedBuild},
			{"what cannot be built says why", unbuildable},
			{"an image is published, found by name and by id, and deleted", published},
			{"private registries get their credentials", privateRegistries},
		})
		return
	}
	runAll([]testCase{
		{"arguments arrive as they were given", arguments},
		{"streams, exit code, workdir, environment and secrets", streams},
		{"what cannot be started ends with 128 and says why", unstartable},
		{"files: a new one takes the name, permissions are octal digits", files},
		{"a timeout of an exec is its error", execTimeout},
		{"a terminal has a size and one stream, and interrupts", terminal},
		{"ignored output does not hold the program up", ignored},
		{"a line comes while the program still runs", live},
		{"a hundred execs at once", hundred},
		{"fifty megabytes go through cat", large},
		{"output is read after the process and after the sandbox ended", late},
		{"an entrypoint reads its input and ends by itself", entrypoint},
		{"terminate can be repeated and is told", terminated},
		{"timeout, idle timeout and signals have their numbers", ends},
		{"names are unique while they are used", names},
		{"tags are set and listed by", tags},
		{"what is not there is not found", notFound},
		{"a named secret that is not there is not found", secrets},
		{"readiness probes are waited for", readiness},
		{"without ports there are no tunnels", tunnels},
		{"memory over the limit is killed", memory},
		{"names and sizes beyond bounds are refused", bounds},
		{"errors have the words that programs look for, in plain text", words},
		{"snapshots of directories are mounted, with their key where they have one", directories},
		{"an exit snapshot is what the sandbox left", exitSnapshot},
		{"volumes are mounted, reloaded and deleted", volumes},
		{"a connect token opens a port", connect},
	})
}

func arguments(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	given := []string{"", " ", "a b", "'\"$HOME`\\", "line\nbreak", "ü世😀", "-n", "*"}
	program := "import json,sys; print(json.dumps(sys.argv[1:]))"
	_, stdout, _ := t.output(sandbox, nil, append([]string{"python3", "-c", program}, given...)...)
	var found []string
	check(json.Unmarshal([]byte(stdout), &found))
	if !slices.Equal(found, given) {
		fail("found %q", found)
	}
}

func streams(t t) {
	secret := must(t.client.Secrets.FromMap(t.ctx, map[string]string{"A": "secret", "B": "secret"}, nil))
	sandbox := t.create(&modal.SandboxCreateParams{Env: map[string]string{"C": "sandbox"}})
	defer t.terminate(sandbox)
	code, stdout, stderr := t.output(sandbox, &modal.SandboxExecParams{
		Workdir: "/var/log", Env: map[string]string{"A": "env"}, Secrets: []*modal.Secret{secret},
	}, "sh", "-c", "echo $A,$B,$C,$PWD; printf '\\377' >&2; exit 9")
	equal(code, 9)
	equal(stdout, "env,secret,sandbox,/var/log\n")
	equal(stderr, "\xff")
}

func unstartable(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	for _, one := range []struct{ program, workdir, name string }{
		{"no-such-program", "", "no-such-program"},
		{"true", "/no/such/directory", "/no/such/directory"},
		{"true", "/etc/passwd", "/etc/passwd"},
	} {
		code, _, stderr := t.output(sandbox, &modal.SandboxExecParams{Workdir: one.workdir}, one.program)
		equal(code, 128)
		if !strings.Contains(stderr, one.name) {
			fail("%q", stderr)
		}
	}
}

func files(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	prepare := "mkdir /names; cd /names; echo old > target; chmod 640 target; ln target other; ln -s target link"
	code, _, _ := t.output(sandbox, nil, "sh", "-c", prepare)
	equal(code, 0)
	check(sandbox.Filesystem.WriteText(t.ctx, "new", "/names/link", nil))
	check(sandbox.Filesystem.WriteText(t.ctx, "newer", "/names/target", nil))
	_, stdout, _ := t.output(sandbox, nil, "sh", "-c", "cd /names; cat link target other")
	equal(stdout, "newnewerold\n")
	equal(must(sandbox.Filesystem.Stat(t.ctx, "/names/target", nil)).Permissions, "0644")
	full := sandbox.Filesystem.WriteText(t.ctx, "x", "/dev/full", nil)
	raised[modal.SandboxFilesystemError](full)
	equal(strings.Contains(full.Error(), "No space left on device"), true)
}

func execTimeout(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	params := &modal.SandboxExecParams{Timeout: 10 * time.Second}
	process := t.exec(sandbox, params, "sh", "-c", "echo out; echo err >&2; sleep 3001 & sleep 3002")
	equal(string(must(io.ReadAll(process.Stdout))), "out\n")
	equal(string(must(io.ReadAll(process.Stderr))), "err\n")
	_, err := process.Wait(t.ctx, nil)
	raised[modal.ExecTimeoutError](err)
	count := "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 300[12]' || true"
	for attempt := 0; ; attempt++ {
		_, left, _ := t.output(sandbox, nil, "sh", "-c", count)
		if left == "0\n" {
			return
		}
		if attempt == 100 {
			fail("processes of the group are left: %s", left)
		}
	}
}

func terminal(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	script := "trap 'echo interrupted; exit 42' INT; stty size; echo err >&2; echo ready; while :; do sleep 0.1; done"
	process := t.exec(sandbox, &modal.SandboxExecParams{PTY: true}, "sh", "-c", script)
	seen, piece := "", make([]byte, 4096)
	for {
		count, err := process.Stdout.Read(piece)
		seen += string(piece[:count])
		if strings.HasSuffix(seen, "ready\r\n") {
			must(process.Stdin.Write([]byte{3}))
		}
		if err == io.EOF {
			break
		}
		check(err)
	}
	if !strings.HasPrefix(seen, "24 80\r\nerr\r\nready\r\n") || !strings.HasSuffix(seen, "interrupted\r\n") {
		fail("%q", seen)
	}
	equal(must(process.Wait(t.ctx, nil)), 42)
}

func ignored(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	params := &modal.SandboxExecParams{Stdout: modal.Ignore, Stderr: modal.Ignore}
	process := t.exec(sandbox, params, "sh", "-c", "head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2; exit 6")
	equal(must(process.Wait(t.ctx, nil)), 6)
}

func live(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	process := t.exec(sandbox, nil, "sh", "-c", "for i in 1 2 3; do echo line $i; read answer; done")
	piece := make([]byte, 100)
	for number := 1; number <= 3; number++ {
		count, err := process.Stdout.Read(piece)
		check(err)
		equal(string(piece[:count]), fmt.Sprintf("line %d\n", number))
		must(process.Stdin.Write([]byte("answer\n")))
	}
	equal(must(process.Wait(t.ctx, nil)), 0)
}

func hundred(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	var group sync.WaitGroup
	problems := make(chan any, 100)
	for number := range 100 {
		group.Go(func() {
			defer func() {
				if thrown := recover(); thrown != nil {
					problems <- thrown
				}
			}()
			process := t.exec(sandbox, nil, "sh", "-c", fmt.Sprintf("read word; echo $word %d; exit %d", number, number))
			must(process.Stdin.Write([]byte("in\n")))
			equal(string(must(io.ReadAll(process.Stdout))), fmt.Sprintf("in %d\n", number))
			equal(must(process.Wait(t.ctx, nil)), number)
		})
	}
	group.Wait()
	close(problems)
	for problem := range problems {
		fail("%v", problem)
	}
}

func large(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	process := t.exec(sandbox, nil, "cat")
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	expected := sha256.New()
	written := make(chan error, 1)
	go func() {
		for range 50 {
			if _, err := process.Stdin.Write(block); err != nil {
				written <- err
				return
			}
		}
		written <- process.Stdin.Close()
	}()
	for range 50 {
		expected.Write(block)
	}
	found := sha256.New()
	must(io.Copy(found, process.Stdout))
	check(<-written)
	if !bytes.Equal(found.Sum(nil), expected.Sum(nil)) {
		fail("the bytes differ")
	}
	equal(must(process.Wait(t.ctx, nil)), 0)
}

func late(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{Command: []string{"sh", "-c", "echo entry; exec sleep 300"}})
	process := t.exec(sandbox, nil, "sh", "-c", "echo out; echo err >&2")
	equal(must(process.Wait(t.ctx, nil)), 0)
	equal(string(must(io.ReadAll(process.Stdout))), "out\n")
	equal(must(sandbox.Terminate(t.ctx, &modal.SandboxTerminateParams{Wait: true})), 137)
	equal(string(must(io.ReadAll(process.Stderr))), "err\n")
	equal(string(must(io.ReadAll(sandbox.Stdout))), "entry\n")
	again := must(t.client.Sandboxes.FromID(t.ctx, sandbox.SandboxID, nil))
	equal(string(must(io.ReadAll(again.Stdout))), "entry\n")
}

func entrypoint(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{Command: []string{"sh", "-c", "read line; echo got $line; exit 7"}})
	must(sandbox.Stdin.Write([]byte("it\n")))
	equal(must(sandbox.Wait(t.ctx, nil)), 7)
	equal(*must(sandbox.Poll(t.ctx, nil)), 7)
	equal(string(must(io.ReadAll(sandbox.Stdout))), "got it\n")
}

func terminated(t t) {
	sandbox := t.create(nil)
	if must(sandbox.Poll(t.ctx, nil)) != nil {
		fail("it has ended")
	}
	t.terminate(sandbox)
	t.terminate(must(t.client.Sandboxes.FromID(t.ctx, sandbox.SandboxID, nil)))
	equal(must(must(t.client.Sandboxes.FromID(t.ctx, sandbox.SandboxID, nil)).Wait(t.ctx, nil)), 137)
}

func ends(t t) {
	timed := t.create(&modal.SandboxCreateParams{Command: []string{"sleep", "300"}, Timeout: 2 * time.Second})
	idle := t.create(&modal.SandboxCreateParams{IdleTimeout: time.Second})
	killed := t.create(&modal.SandboxCreateParams{Command: []string{"sh", "-c", "kill -TERM $$; sleep 300"}})
	equal(must(timed.Wait(t.ctx, nil)), 124)
	equal(must(idle.Wait(t.ctx, nil)), 137)
	equal(must(killed.Wait(t.ctx, nil)), 143)
}

func names(t t) {
	const name = "comes-and-goes"
	_, err := t.client.Sandboxes.FromName(t.ctx, "life-go", name, nil)
	raised[modal.NotFoundError](err)
	first := t.create(&modal.SandboxCreateParams{Name: name})
	equal(must(t.client.Sandboxes.FromName(t.ctx, "life-go", name, nil)).SandboxID, first.SandboxID)
	_, err = t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{Name: name})
	raised[modal.AlreadyExistsError](err)
	must(first.Terminate(t.ctx, &modal.SandboxTerminateParams{Wait: true}))
	_, err = t.client.Sandboxes.FromName(t.ctx, "life-go", name, nil)
	raised[modal.NotFoundError](err)
	t.terminate(t.create(&modal.SandboxCreateParams{Name: name}))
}

func tags(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{Tags: map[string]string{"go": "born with"}})
	defer t.terminate(sandbox)
	check(sandbox.SetTags(t.ctx, map[string]string{"go": "later", "more": "1"}, nil))
	equal(must(sandbox.GetTags(t.ctx, nil))["more"], "1")
	count := func(tags map[string]string) int {
		found := 0
		for _, err := range must(t.client.Sandboxes.List(t.ctx, &modal.SandboxListParams{AppID: t.app.AppID, Tags: tags})) {
			check(err)
			found++
		}
		return found
	}
	equal(count(map[string]string{"go": "later"}), 1)
	equal(count(map[string]string{"go": "later", "more": "2"}), 0)
	equal(count(map[string]string{"go": "born with"}), 0)
}

func notFound(t t) {
	_, err := t.client.Apps.FromName(t.ctx, "life-go-not-there", nil)
	raised[modal.NotFoundError](err)
	nobody, err := t.client.Sandboxes.FromID(t.ctx, "sb-00000000000000000000000000", nil)
	if err == nil {
		// This client asks for it only when it is used.
		_, err = nobody.Poll(t.ctx, nil)
	}
	if err == nil || !strings.Contains(err.Error(), "sb-00000000000000000000000000") {
		fail("%v", err)
	}
}

func secrets(t t) {
	_, err := t.client.Secrets.FromName(t.ctx, "life-go-not-there", nil)
	raised[modal.NotFoundError](err)
	check(t.client.Secrets.Delete(t.ctx, "life-go-not-there", &modal.SecretDeleteParams{AllowMissing: true}))
}

func readiness(t t) {
	probe := must(modal.NewExecProbe([]string{"test", "-e", "/tmp/ready"}, &modal.ExecProbeParams{Interval: 50 * time.Millisecond}))
	command := []string{"sh", "-c", "sleep 1; touch /tmp/ready; exec sleep 300"}
	sandbox := t.create(&modal.SandboxCreateParams{Command: command, ReadinessProbe: probe})
	defer t.terminate(sandbox)
	check(sandbox.WaitUntilReady(t.ctx, 30*time.Second, nil))
	never := t.create(&modal.SandboxCreateParams{ReadinessProbe: must(modal.NewTCPProbe(9, nil))})
	defer t.terminate(never)
	raised[modal.TimeoutError](never.WaitUntilReady(t.ctx, 2*time.Second, nil))
}

func tunnels(t t) {
	sandbox := t.create(nil)
	defer t.terminate(sandbox)
	equal(len(must(sandbox.Tunnels(t.ctx, 10*time.Second, nil))), 0)
}

func memory(t t) {
	sandbox := t.create(&modal.SandboxCreateParams{MemoryMiB: 128, MemoryLimitMiB: 256})
	defer t.terminate(sandbox)
	process := t.exec(sandbox, nil, "python3", "-c", "data = []\nwhile True: data.append(bytearray(8 << 20))")
	equal(must(process.Wait(t.ctx, nil)), 137)
}

func bounds(t t) {
	for _, params := range []*modal.SandboxCreateParams{
		{Name: "with space"}, {Tags: map[string]string{"x": strings.Repeat("x", 1025)}}, {Timeout: 8 * 24 * time.Hour},
	} {
		if _, err := t.client.Sandboxes.Create(t.ctx, t.app, t.image, params); err == nil {
			fail("%+v was taken", params)
		}
	}
}

func words(t t) {
	says := func(err error, code codes.Code, words string) {
		if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), words) {
			fail("%v", err)
		}
	}
	sandbox := t.create(nil)
	must(sandbox.Terminate(t.ctx, &modal.SandboxTerminateParams{Wait: true}))
	_, err := sandbox.Exec(t.ctx, []string{"true"}, nil)
	says(err, codes.NotFound, "already completed: it was terminated")
	_, err = t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{OutboundCIDRAllowlist: &modal.Allowlist{Entries: []string{"not-an-ip/8"}}})
	says(err, codes.InvalidArgument, "Invalid CIDR: not-an-ip/8")
	_, err = t.client.Sandboxes.Create(t.ctx, t.app, t.image, &modal.SandboxCreateParams{Regions: []string{"invalid-region"}})
	says(err, codes.InvalidArgument, "\"invalid-region\"")
	environment := "ü-100%41-\n-😀/a:b,c;d?e@f&g=h+i$j#k"
	for _, err = range must(t.client.Sandboxes.List(t.ctx, &modal.SandboxListParams{Environment: environment})) {
		says(err, codes.NotFound, environment)
	}
	if err == nil {
		fail("an environment that is not there has sandboxes")
	}
}
