// Run code in five languages in a sandbox that it cannot get out of, with the official Modal client for Go:
//
//	eval "$(skerry env)"
//	go run .
//
// The same program as examples/python/safe_code_execution.py. This client shows no build log.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/modal-labs/modal-client/go"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	client, err := modal.NewClient()
	if err != nil {
		return err
	}
	app, err := client.Apps.FromName(ctx, "example-safe-code-execution", &modal.AppFromNameParams{CreateIfMissing: true})
	if err != nil {
		return err
	}
	image := client.Images.FromRegistry("python:3.11-slim-bookworm", nil).DockerfileCommands(
		[]string{"RUN apt-get update", "RUN apt-get install -y nodejs ruby php"}, nil)

	// The image is built when it is first used, and cached. Without a command the sandbox waits for us.
	sandbox, err := client.Sandboxes.Create(ctx, app, image, nil)
	if err != nil {
		return err
	}
	fmt.Println("Sandbox ID:", sandbox.SandboxID)

	// The five processes run at the same time.
	var hellos []*modal.ContainerProcess
	for _, command := range [][]string{
		{"echo", "hello from bash"},
		{"python", "-c", "print('hello from python')"},
		{"node", "-e", `console.log("hello from nodejs")`},
		{"ruby", "-e", "puts 'hello from ruby'"},
		{"php", "-r", "echo 'hello from php';"},
	} {
		process, err := sandbox.Exec(ctx, command, nil)
		if err != nil {
			return err
		}
		hellos = append(hellos, process)
	}
	for _, process := range hellos {
		if _, err := io.Copy(os.Stdout, process.Stdout); err != nil {
			return err
		}
	}
	fmt.Println()

	// Languages work together through pipes: Python draws numbers, Node.js adds them up.
	draw := "import random; print(*(random.randint(1, 100) for _ in range(10)))"
	add := `
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const sum = line.split(" ").map(Number).reduce((a, b) => a + b, 0);
  console.log("The sum of the random numbers is: " + sum);
});`
	combined, err := sandbox.Exec(ctx, []string{"bash", "-c", fmt.Sprintf("python -c '%s' | node -e '%s'", draw, add)}, nil)
	if err != nil {
		return err
	}
	sum, err := io.ReadAll(combined.Stdout)
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimSpace(string(sum)))

	// Output of a long-running process comes as it is printed.
	slowPrinter, err := sandbox.Exec(ctx, []string{"ruby", "-e",
		`10.times { |i| puts "Line #{i + 1}: #{Time.now}"; STDOUT.flush; sleep(0.5) }`}, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(os.Stdout, slowPrinter.Stdout); err != nil {
		return err
	}

	// The sandbox is kept apart from everything else, so this harms only itself.
	if _, err := sandbox.Exec(ctx, []string{"rm", "-rfv", "/", "--no-preserve-root"}, nil); err != nil {
		return err
	}
	_, err = sandbox.Terminate(ctx, nil)
	return err
}
