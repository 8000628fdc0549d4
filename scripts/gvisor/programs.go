// Beside gVisor's own `runsc/boot/filter/config`, whose rules it needs: scripts/lib/gvisor-sources.mjs copies it there.

package config

import (
	"maps"
	"slices"

	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/pkg/sentry/devices/nvproxy/nvconf"
	"gvisor.dev/gvisor/pkg/sentry/platform"
)

// SkerryPrograms compiles the filters of the kernels that Skerry starts: on systrap, with a network stack of their own and the
// files of the machine opened by themselves, without a GPU and with one. Of gVisor's own list of several hundred these are all
// that can come to use, and they are compiled in a second where that list takes most of a minute.
func SkerryPrograms() ([]precompiledseccomp.Program, error) {
	systrap, err := platform.Lookup("systrap")
	if err != nil {
		return nil, err
	}
	var programs []precompiledseccomp.Program
	for _, info := range systrap.PrecompiledSeccompInfo() {
		kinds := []Options{{Platform: info, HostFilesystem: true}}
		for _, caps := range nvconf.PopularCapabilitySets() {
			kinds = append(kinds, Options{Platform: info, HostFilesystem: true, NVProxy: true, NVProxyCaps: caps})
		}
		for _, kind := range kinds {
			program, err := compile(kind)
			if err != nil {
				return nil, err
			}
			programs = append(programs, program)
		}
	}
	return programs, nil
}

func compile(kind Options) (precompiledseccomp.Program, error) {
	unknown := slices.Collect(maps.Keys(kind.Vars()))
	return precompiledseccomp.Precompile(kind.ConfigKey(), unknown, func(values precompiledseccomp.Values) *seccomp.Program {
		allowed, denied := rules(kind, values)
		return &seccomp.Program{
			RuleSets: []seccomp.RuleSet{{Rules: denied.Copy()}, {Rules: allowed.Copy(), Action: seccomp.Allow}},
			Options:  SeccompOptions(kind),
		}
	})
}
