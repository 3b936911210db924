// Package cpu says, once and for all kernels under offload, which instruction
// set extensions they may use.
//
// The environment variable NVGRE_CPU=generic|avx2|avx512 lowers the level, to
// test a lower body or to rule one out when something is wrong in the field.
// It never raises it. The build tag purego leaves only the generic bodies.
package cpu

import (
	"fmt"
	"os"
	"strings"
)

// EnvVar names the environment variable that lowers the level.
const EnvVar = "NVGRE_CPU"

// Level is a set of extensions that appear together in processors; each holds
// what the one below it holds.
type Level uint8

const (
	// Generic is the pure Go bodies.
	Generic Level = iota
	// AVX2 is AVX2, BMI1, BMI2, MOVBE and PCLMULQDQ: Haswell, Zen and later.
	AVX2
	// AVX512 is AVX-512 F, BW, DQ, VL and VBMI besides. VBMI is not used: its
	// presence rules out the processors that lower their clock for 512-bit
	// work, on which the AVX2 bodies are faster.
	AVX512
)

var names = [...]string{Generic: "generic", AVX2: "avx2", AVX512: "avx512"}

// String returns the name that NVGRE_CPU takes.
func (l Level) String() string {
	if int(l) < len(names) {
		return names[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// features is what a processor (and the operating system on it) can do.
type features struct {
	level   Level
	vpclmul bool // VPCLMULQDQ on 256-bit registers
}

var (
	found        = detect()
	used, envErr = choose(found, os.Getenv(EnvVar))
	// HasAVX2 and its like are fixed before the first importer is initialised
	// and only read afterwards. Each is what the processor has and NVGRE_CPU
	// allows.
	HasAVX2 = used.level >= AVX2
	// HasVPCLMUL is VPCLMULQDQ on 256-bit registers, beside AVX2. Zen 3 has it
	// without any AVX-512.
	HasVPCLMUL = used.vpclmul
	HasAVX512  = used.level >= AVX512
)

// Current returns the level in use.
func Current() Level { return used.level }

// Levels returns the levels this processor can run, lowest first, whatever
// NVGRE_CPU says: tests run every body in it.
func Levels() []Level {
	all := []Level{Generic, AVX2, AVX512}
	return all[:found.level+1]
}

// CanVPCLMUL is HasVPCLMUL before NVGRE_CPU: for tests.
func CanVPCLMUL() bool { return found.vpclmul }

// EnvError returns what is wrong with NVGRE_CPU, nil if nothing: an unknown
// name (ignored) or a level that the processor lacks (the highest it has is
// used). A program reports it once at start.
func EnvError() error { return envErr }

func choose(f features, env string) (features, error) {
	if env == "" {
		return f, nil
	}
	want := Level(0)
	for ; int(want) < len(names); want++ {
		if names[want] == env {
			break
		}
	}
	switch {
	case int(want) == len(names):
		return f, fmt.Errorf("%s=%q is not a level: want one of %s; using %s",
			EnvVar, env, strings.Join(names[:], ", "), f.level)
	case want > f.level:
		return f, fmt.Errorf("%s=%s: this processor or build has no %s; using %s", EnvVar, env, env, f.level)
	}
	f.level = want
	f.vpclmul = f.vpclmul && want >= AVX2
	return f, nil
}
