package wandb

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/track"
)

// clientEnv makes the test program a client that behaves as it says. The real one is tested in cmd/bmem.
const clientEnv = "WANDB_TEST_CLIENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(clientEnv); how != "" && len(os.Args) > 1 && os.Args[1] == "-c" {
		os.Exit(client(how, os.Args[2]))
	}
	os.Exit(m.Run())
}

// client plays the driver: it keeps the lines that it gets in a file beside its run.
func client(how, code string) int {
	if code != driver { // the question whether there is a client
		return 0
	}
	if how == "die" {
		fmt.Fprintln(os.Stderr, "ImportError: broken package")
		return 3
	}
	in := bufio.NewScanner(os.Stdin)
	var dir string
	for n := 0; in.Scan(); n++ {
		var message map[string]any
		if err := json.Unmarshal(in.Bytes(), &message); err != nil {
			panic(err)
		}
		if n == 0 {
			dir = message["dir"].(string)
		}
		f, err := os.OpenFile(filepath.Join(dir, "lines"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(f, in.Text(), "key="+os.Getenv(keyEnv))
		f.Close()
		switch {
		case n == 0 && how == "refuse":
			fmt.Println(`{"error": "CommError: no such account"}`)
			return 1
		case n == 0 && how == "hang", message["exit"] != nil && how == "hang at the end":
			time.Sleep(time.Hour)
		case n == 0 && how == "chatter":
			fmt.Println("Hello!")
		case n == 0 && how == "resume":
			fmt.Println(`{"next": 7}`)
		case n == 0, message["exit"] != nil:
			fmt.Println(`{}`)
		case n == 2 && how == "die in the middle":
			fmt.Fprintln(os.Stderr, "Killed")
			return 9
		}
	}
	return 0
}

// show shows a run of ten steps and returns what the client got.
func show(t *testing.T, dir, mode, how string) (warnings, lines []string) {
	t.Helper()
	t.Setenv(clientEnv, how)
	sink, err := New(t.Context(), Options{Mode: mode, Project: "p", Python: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	trackers := track.New([]track.Sink{sink}, func(line string) { warnings = append(warnings, line) })
	r := trackers.Start(track.Run{Training: "tr", Name: "seed 1", Dir: dir})
	for i := range 10 {
		r.Record(map[string]float64{"x": float64(i)})
	}
	r.End(track.Outcome{Status: track.Finished, Summary: map[string]float64{"y": 1}, Notes: map[string]string{"z": "text"}, Files: map[string]string{"f": "path"}})
	trackers.Close()
	data, err := os.ReadFile(filepath.Join(dir, "lines"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return warnings, strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestTalksToItsClient(t *testing.T) {
	t.Setenv(keyEnv, "secret")
	dir := t.TempDir()
	w, lines := show(t, dir, Offline, "work")
	if w != nil || len(lines) != 12 {
		t.Fatalf("warned %q, the client got %q", w, lines)
	}
	for i, want := range map[int]string{0: `"project":"p"`, 1: `{"step":0,"values":{"x":0}} key=`, 11: `{"exit":0,"files":{"f":"path"},"summary":{"y":1,"z":"text"}} key=`} {
		if !strings.Contains(lines[i], want) || strings.Contains(lines[i], "secret") {
			t.Errorf("line %d is %s, want %s and no key", i, lines[i], want)
		}
	}
	// Online, the key is the client's to use, and the server knows what it has.
	w, lines = show(t, t.TempDir(), Online, "resume")
	if w != nil || len(lines) != 1+3+1 || !strings.Contains(lines[1], `"step":7`) || !strings.HasSuffix(lines[0], "key=secret") {
		t.Errorf("warned %q, the client got %q", w, lines)
	}
}

// Whatever the client does, the training hears of it in one line; the next start gives it all again.
func TestClientFails(t *testing.T) {
	for how, want := range map[string]string{"die": "broken package", "die in the middle": "Killed", "refuse": "no such account", "chatter": "Hello!"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			w, before := show(t, dir, Offline, how)
			if len(w) != 1 || !strings.Contains(w[0], want) || !strings.HasPrefix(w[0], "W&B offline, project p: ") {
				t.Errorf("warned %q, want %q", w, want)
			}
			if w, lines := show(t, dir, Offline, "work"); w != nil || len(lines) < 12 || len(lines) > len(before)+12 {
				t.Errorf("warned %q, the client got %q", w, lines)
			}
		})
	}
}

// A client that hangs ends with what waits for it.
func TestClientHangs(t *testing.T) {
	for _, how := range []string{"hang", "hang at the end"} {
		t.Setenv(clientEnv, how)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		sink := &Sink{Options{Mode: Offline, Project: "p", Python: os.Args[0]}}
		session, _, err := sink.Open(ctx, track.Run{ID: "x", Dir: t.TempDir()})
		if err == nil {
			err = session.End(ctx, track.Outcome{Status: track.Finished})
		}
		if ctx.Err() == nil || err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("%s: error %v", how, err)
		}
		if session != nil {
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		}
		cancel()
	}
}

func TestRefuses(t *testing.T) {
	t.Setenv(keyEnv, "")
	t.Setenv(clientEnv, "work")
	for want, o := range map[string]Options{
		"there are":      {Mode: "x", Project: "p", Python: os.Args[0]},
		"set " + keyEnv:  {Mode: Online, Project: "p", Python: os.Args[0]},
		"project":        {Mode: Offline, Python: os.Args[0]},
		"has no package": {Mode: Offline, Project: "p", Python: "/nowhere/python"},
	} {
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", o, err, want)
		}
	}
}
