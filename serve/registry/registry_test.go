package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
)

// The test binary plays the server and the notebooks too, so that they can be killed.
const envRole = "REGISTRY_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(envRole) {
	case "":
		os.Exit(m.Run())
	case "server":
		err = serveOnce()
	case "notebook":
		err = keep()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// as returns a command that plays a role.
func as(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+role)
	return cmd
}

func serveOnce() error {
	ctx := context.Background()
	r, err := Default()
	if err != nil {
		return err
	}
	c, ok, err := r.LockServer(ctx)
	if err != nil || !ok {
		return err
	}
	defer c.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	if err := c.Publish("http://" + ln.Addr().String() + "/v1"); err != nil {
		return err
	}
	<-c.WhileUsed(ctx, 500*time.Millisecond).Done()
	return nil
}

func keep() error {
	r, err := Default()
	if err != nil {
		return err
	}
	return r.Keep(context.Background(), func() *exec.Cmd { return as("server") })
}

// notebook starts one, and returns how to kill it.
func notebook(t *testing.T) (kill func()) {
	t.Helper()
	cmd := as("notebook")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	return kill
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestOneServerForAllNotebooks(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv(api.EnvServer, "")
	r, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find(t.Context()); !errors.Is(err, ErrNone) {
		t.Fatalf("with nothing running: %v", err)
	}

	kills := []func(){notebook(t), notebook(t), notebook(t)}
	eventually(t, "a client lock", r.inUse)
	url, err := Find(t.Context()) // waits for the server
	if err != nil || !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("found %q, %v", url, err)
	}
	first, ok := r.Running()
	if !ok || first.URL != url {
		t.Fatalf("running %+v, found %s", first, url)
	}
	// A server that dies is replaced.
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var second api.Address
	eventually(t, "a second server", func() bool { second, ok = r.Running(); return ok && second.PID != first.PID })
	if url, err := Find(t.Context()); err != nil || url != second.URL {
		t.Errorf("found %q, %v, want %s", url, err, second.URL)
	}
	// It is the only one: another that tries ends at once.
	if out, err := as("server").CombinedOutput(); err != nil {
		t.Errorf("one server more: %v, %s", err, out)
	}
	if now, ok := r.Running(); !ok || now != second {
		t.Errorf("running %+v, want %+v", now, second)
	}
	// It outlives the notebook that started it, and no longer the last one, however that ends.
	kills[0]()
	kills[1]()
	time.Sleep(1500 * time.Millisecond)
	if !alive(second.PID) {
		t.Fatal("the server ended before the last notebook")
	}
	kills[2]()
	eventually(t, "the end of the server", func() bool { return !held(r.server()) })
	if _, err := os.Stat(r.address()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the address is still there: %v", err)
	}
	if _, err := Find(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("after the end: %v", err)
	}
}

func TestFindElsewhere(t *testing.T) {
	t.Setenv(api.EnvServer, "http://127.0.0.1:1/v1")
	if url, err := Find(t.Context()); err != nil || url != "http://127.0.0.1:1/v1" {
		t.Errorf("%s, %v", url, err)
	}
}

func TestFindGivesUp(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv(api.EnvServer, "")
	r, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	lock, ok, err := r.LockServer(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer lock.lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Find(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that never listens: %v", err)
	}
}
