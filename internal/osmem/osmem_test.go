package osmem

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/testenv"
)

func TestGiveBack(t *testing.T) {
	with := withGarbage(t)
	GiveBack()
	if without := resident(t); with-without < 200<<20 {
		t.Errorf("%d MiB were resident, %d are after 256 MiB of garbage were given back", with>>20, without>>20)
	}
}

// withGarbage fills 256 MiB and returns how many bytes are then in memory.
func withGarbage(t *testing.T) int {
	garbage := make([]byte, 256<<20)
	for i := range garbage {
		garbage[i] = 1
	}
	defer runtime.KeepAlive(garbage)
	return resident(t)
}

// resident is how many bytes of the process are in memory.
func resident(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		testenv.Missing(t, err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(size), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no VmRSS in /proc/self/status")
	return 0
}
