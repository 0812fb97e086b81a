package docker

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// tiers are the services of the capacity axis, by the roles that its tier set names.
var tiers = []string{"large", "medium", "small"}

// load reads the compose file as Docker does: against the schema, variables replaced, anchors and extensions resolved.
func load(t *testing.T, env []string, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(env), cli.WithProfiles(profiles), cli.WithResolvedPaths(false))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestProfiles(t *testing.T) {
	for _, test := range []struct {
		profiles, want []string
	}{
		{nil, []string{"notebook"}},
		{[]string{"capacity"}, append(slices.Clone(tiers), "notebook")},
		{[]string{"cuda"}, []string{"notebook", "notebook-cuda"}},
		{[]string{"workers"}, []string{"nats", "notebook", "worker"}},
		{[]string{"postgres"}, []string{"notebook", "postgres", "serve"}},
	} {
		got := slices.Sorted(maps.Keys(load(t, nil, test.profiles...).Services))
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("profiles %v start %v, want %v", test.profiles, got, test.want)
		}
	}
}

func TestNotebookServices(t *testing.T) {
	services := load(t, nil, "cuda").Services
	for name, engine := range map[string]string{"notebook": "cpu", "notebook-cuda": "cuda"} {
		s, img := services[name], readImage(t, engine)
		if got := s.Build.Args["ENGINE"]; got == nil || *got != engine || s.Image != "budgetmem:"+engine {
			t.Errorf("%s builds %s with arguments %v, want the engine %s", name, s.Image, s.Build.Args, engine)
		}
		known := map[string]bool{"ENGINE": true}
		for _, c := range of[*instructions.ArgCommand](img) {
			known[c.Args[0].Key] = true
		}
		for arg := range s.Build.Args {
			if !known[arg] {
				t.Errorf("%s builds with the argument %s, which the Dockerfile does not know", name, arg)
			}
		}
		if s.PullPolicy != types.PullPolicyBuild {
			t.Errorf("%s may be pulled from a registry, where somebody else's image may have its name", name)
		}
		if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" {
			t.Errorf("%s is published as %v, want loopback only", name, s.Ports)
		}
		var mounted []string
		for _, v := range s.Volumes {
			mounted = append(mounted, v.Target)
		}
		for _, want := range last[*instructions.VolumeCommand](t, img).Volumes {
			if !slices.Contains(mounted, want) {
				t.Errorf("%s loses %s with its container; it mounts %v", name, want, mounted)
			}
		}
		if gpus := gpus(s); (engine == "cuda") != (gpus == 1) {
			t.Errorf("%s asks for %d kinds of GPU", name, gpus)
		}
	}
}

// gpus counts the reservations of NVIDIA devices.
func gpus(s types.ServiceConfig) (n int) {
	if s.Deploy == nil || s.Deploy.Resources.Reservations == nil {
		return 0
	}
	for _, d := range s.Deploy.Resources.Reservations.Devices {
		if d.Driver == "nvidia" && slices.Contains(d.Capabilities, "gpu") {
			n++
		}
	}
	return n
}

func TestServedModels(t *testing.T) {
	services := load(t, nil, "capacity").Services
	roles := read(t, "bmem/setup/models.go")
	example := strings.ReplaceAll(read(t, "docker/compose.yaml"), "\n#", "")
	seen := map[string]string{}
	for _, name := range tiers {
		s := services[name]
		if !regexp.MustCompile(`^vllm/vllm-openai:v\d+\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s runs %s, want a version of vLLM", name, s.Image)
		}
		model := s.Command[0]
		if !regexp.MustCompile(`"` + name + `": +\{"[^"]+", "` + regexp.QuoteMeta(model) + `"\}`).MatchString(roles) {
			t.Errorf("%s serves %s, which is not the default of that role at endpoints", name, model)
		}
		if !slices.ContainsFunc(s.Command, regexp.MustCompile(`^--revision=[0-9a-f]{40}$`).MatchString) {
			t.Errorf("%s serves %s without a revision: %v", name, model, s.Command)
		}
		if role := "--role " + name + "=" + model + "@http://" + name + ":8000/v1"; !strings.Contains(example, role) {
			t.Errorf("the example does not say %s", role)
		}
		if s.HealthCheck == nil || gpus(s) != 1 || len(s.Ports) != 0 {
			t.Errorf("%s: want a health check, a GPU and no published port", name)
		}
		devices := s.Environment["CUDA_VISIBLE_DEVICES"]
		if devices == nil {
			t.Fatalf("%s does not say which GPUs it takes", name)
		}
		for device := range strings.SplitSeq(*devices, ",") {
			if other, taken := seen[device]; taken {
				t.Errorf("%s and %s take the same GPU %s", name, other, device)
			}
			seen[device] = name
		}
	}
}

// A key that is not set must stop nobody who does not need it, and one that is set reaches the services and nothing else.
func TestKeysComeFromTheEnvironment(t *testing.T) {
	for _, test := range []struct{ env, want []string }{
		{nil, nil},
		{[]string{"HF_TOKEN=from-outside"}, []string{"from-outside"}},
	} {
		loaded := load(t, test.env, "capacity")
		for name, s := range loaded.Services {
			var got []string
			if token := s.Environment["HF_TOKEN"]; token != nil {
				got = append(got, *token)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("with %v %s gets the key %v", test.env, name, got)
			}
			if s.Build != nil {
				if _, passed := s.Build.Args["HF_TOKEN"]; passed {
					t.Errorf("%s hands its key to the build", name)
				}
			}
		}
	}
}
