// Writes the filters of system calls that gVisor has compiled in into its sources: run in the root of a copy of its `go` branch,
// whose files for them are empty, since they come out of another build system (Bazel) elsewhere. A runsc without them compiles its
// filters at each start of a sandbox.

package main

import (
	"log"
	"os"
	"strings"

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	kernel "gvisor.dev/gvisor/runsc/boot/filter/config"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter/config"
)

// The last line of the function that registers the programs, in either file.
const end = "\tprecompiledPrograms = programs\n"

func main() {
	write("runsc/boot/filter/filter_precompiled.go", kernel.SkerryPrograms)
	write("runsc/fsgofer/filter/filter_precompiled.go", gofer.PrecompiledPrograms)
}

func write(path string, compile func() ([]precompiledseccomp.Program, error)) {
	programs, err := compile()
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	if strings.Count(string(text), end) != 1 {
		log.Fatalf("%s is not as it was in the gVisor that this was written for", path)
	}
	var lines strings.Builder
	for _, program := range programs {
		lines.WriteString(program.Registration("\t", "precompiledseccomp", "programs"))
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), end, lines.String()+end, 1)), 0o644); err != nil {
		log.Fatal(err)
	}
}
