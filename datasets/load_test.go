package datasets

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// one is a record with a single field, for tests of the loading path.
type one struct {
	A int `json:"a"`
}

func (r *one) check() error {
	if r.A == 0 {
		return missing("a")
	}
	return nil
}

func TestDecode(t *testing.T) {
	sum := func(name string, data []byte) (total int, err error) {
		err = decode(t.Context(), name, bytes.NewReader(data), func(r *one) error { total += r.A; return nil })
		return total, err
	}
	for name, text := range map[string]string{
		"f.json":     ` [{"a":1}, {"a":2}] `,
		"f.jsonl":    "{\"a\":1}\n\n{\"a\":2}",
		"one.json":   `{"a":3}`,
		"f.json.gz":  string(gzipped(t, `[{"a":1},{"a":2}]`)),
		"f.jsonl.gz": string(gzipped(t, "{\"a\":1}\n{\"a\":2}\n")),
	} {
		if got, err := sum(name, []byte(text)); err != nil || got != 3 {
			t.Errorf("%s: sum %d, %v; want 3", name, got, err)
		}
	}
	whole := gzipped(t, `[{"a":1},{"a":2}]`)
	for _, c := range []struct{ name, text, want string }{
		{"f.json", ``, "unexpected EOF"},
		{"f.json", `"text"`, "want a JSON list"},
		{"f.json", `[{"a":1},null]`, `record 2: field "a" is missing`},
		{"f.json", `[{"a":1},{"a":0}]`, `record 2: field "a" is missing`},
		{"f.json", `[{"a":1},{"a":"x"}]`, `record 2: field "a" is a string, want int`},
		{"f.json", `[{"a":1},`, "record 2: unexpected EOF"},
		{"f.json", `[{"a":1}`, "end of the list: unexpected EOF"},
		{"f.json", `[{"a":1}] {"a":2}`, "something follows"},
		{"f.json", `[{"a":1},{"a":}]`, "record 2: invalid character"},
		{"f.jsonl", "{\"a\":1}\n{\"a\"", "record 2: unexpected EOF"},
		{"f.json.gz", `[{"a":1},{"a":2}]`, "gzip: invalid header"},
		{"f.json.gz", string(whole[:len(whole)-4]), "unexpected EOF"},
		{"f.json.xz", `[{"a":1},{"a":2}]`, "xz: "},
	} {
		_, err := sum(c.name, []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.name+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q gives %v; want %q", c.name, c.text, err, c.want)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := decode(ctx, "f.json", strings.NewReader(`[{"a":1}]`), func(*one) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnknownName(t *testing.T) {
	_, err := Open("hotpot", Options{})
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"hotpotqa"`) {
		t.Errorf("an unknown name gives %v; want ErrUnknown and the nearest name", err)
	}
	d, err := Open("locomo", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Questions(t.Context(), "test"); err == nil {
		t.Error("Questions handed out the test split")
	}
	if _, err := d.History(t.Context(), "conv-1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown history gives %v, want ErrUnknown", err)
	}
}

func TestMissingAndBrokenFiles(t *testing.T) {
	t.Setenv(DataEnv, "")
	open := func(dir string) error {
		d, err := Open("longmemeval", Options{DataDir: dir})
		if err != nil {
			return err
		}
		_, err = d.Questions(t.Context(), Validation)
		return err
	}
	const url = "https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned"
	if err := open(""); !errors.Is(err, ErrMissingData) || !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), DataEnv) {
		t.Errorf("without a data folder: %v", err)
	}
	dir := t.TempDir()
	if err := open(dir); !errors.Is(err, ErrMissingData) || !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), dir) {
		t.Errorf("with an empty data folder: %v", err)
	}
	t.Setenv(DataEnv, dir)
	if err := open(""); !errors.Is(err, ErrMissingData) || !strings.Contains(err.Error(), dir) {
		t.Errorf("with the folder from the environment: %v", err)
	}
	// A file whose hash is known and different is refused at once.
	put(t, dir, "longmemeval_s_val.jsonl.xz", []byte("cut off"))
	if err := open(dir); err == nil || !strings.Contains(err.Error(), "sha256") || !strings.Contains(err.Error(), dir) {
		t.Errorf("with a changed file: %v", err)
	}
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every data set opens, verifies where its files are there, and has the same hash twice.
func TestVerifyAll(t *testing.T) {
	t.Setenv(DataEnv, "")
	want := map[string][3]int{ // questions of train, validation and test; -1 where the file is not shipped
		"locomo":              {885, 341, 314},
		"locomo-unanswerable": {272, 88, 86},
		"longmemeval":         {-1, -1, 105},
		"longmemeval-oracle":  {296, 98, 105},
		"hotpotqa":            {200, 300, 200},
		"hotpotqa-200":        {200, 300, 200},
		"hotpotqa-full":       {-1, -1, -1},
	}
	if len(want) != len(Names()) {
		t.Fatalf("the test does not know all of %v", Names())
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			reports, err := Verify(t.Context(), name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			info, err := Describe(name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range reports {
				if n := want[name][i]; n < 0 != (r.Missing != "") || n >= 0 && r.Questions != n {
					t.Errorf("%s split: %+v, want %d questions", r.Split, r, n)
				}
				if s := info.Splits[i]; s.Missing != r.Missing || r.Missing == "" && s.Questions != r.Questions {
					t.Errorf("%s split: Describe says %+v, Verify %+v", r.Split, s, r)
				}
			}
			a, err := Open(name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if a.Hash() != info.Hash || len(a.Hash()) != 64 {
				t.Errorf("hashes %q and %q differ or are short", a.Hash(), info.Hash)
			}
		})
	}
}

// A question of the train split must not be one of validation or test, by id or by words.
func TestSplitsAreDisjoint(t *testing.T) {
	for _, name := range []string{"locomo", "longmemeval-oracle", "hotpotqa"} {
		d, err := openDataset(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]Split{}
		for _, split := range splits {
			questions, err := d.questions(t.Context(), split)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range questions {
				for _, key := range []string{q.ID, q.History + "\n" + q.Text} {
					if other, ok := seen[key]; ok && other != split {
						t.Errorf("%s: %q is in %s and %s", name, key, other, split)
					}
					seen[key] = split
				}
			}
		}
	}
}

// Splits and histories may be asked for from many goroutines at once.
func TestConcurrentUse(t *testing.T) {
	d, err := Open("hotpotqa", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			questions, err := d.Questions(t.Context(), []Split{Train, Validation}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			for _, q := range questions[:50] {
				if _, err := d.History(t.Context(), q.History); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
