package llm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// What to do instead of a parameter that the worst case of a call does not know.
const (
	byMaxTokens = "--model-set max_tokens=N sets the limit of a reply (reasoning_tokens=N adds room for reasoning, max_completion_tokens=true sends it under the newer name)"
	byProgram   = "the program sets it itself"
	byNothing   = "it would bill more than the prompt and the reply, beyond what --max-dollars can hold"
)

// refusedParameters are fields of a request that change what a call may bill, or what it is, by their names in lower case without
// "_" and "-": some servers read names in any form. The names are those of OpenAI's API, vLLM, llama.cpp, Ollama, Hugging Face's
// servers, OpenRouter, LiteLLM, Gemini, Qwen and xAI.
var refusedParameters = map[string]string{
	"maxtokens": byMaxTokens, "maxcompletiontokens": byMaxTokens, "maxoutputtokens": byMaxTokens, "maxnewtokens": byMaxTokens, "maxtokenstosample": byMaxTokens,
	"maxgentoks": byMaxTokens, "maxlength": byMaxTokens, "numpredict": byMaxTokens, "npredict": byMaxTokens,
	"n": "the answer's method \"mbr\" of a tier set asks for several replies (samples)", "model": byProgram, "messages": byProgram, "input": byProgram, "stream": byProgram, "prompt": byProgram,
	"bestof": byNothing, "usebeamsearch": byNothing, "numbeams": byNothing, "beamwidth": byNothing, "numreturnsequences": byNothing, "candidatecount": byNothing,
	"prediction": byNothing, "modalities": byNothing, "audio": byNothing,
	"tools": byNothing, "functions": byNothing, "plugins": byNothing, "websearchoptions": byNothing, "websearch": byNothing, "enablesearch": byNothing,
	"searchparameters": byNothing, "chattemplate": byNothing,
	"models": "--model-set fallback=NAME names models that answer instead, at their own prices", "fallbacks": "--model-set fallback=NAME names models that answer instead, at their own prices",
}

// nestedParameters hold further fields of a request, at some servers. Other objects may use the same names for something else, as a
// JSON schema does.
var nestedParameters = []string{"extrabody", "options", "generationconfig", "samplingparams", "parameters"}

// checkParameters refuses what Settings.Parameters cannot set.
func checkParameters(parameters map[string]any) error {
	for name, value := range parameters {
		plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(strings.TrimSpace(name)))
		// Leaving out n asks for one reply. Leaving out a limit would ask for a reply without an end.
		if instead, refused := refusedParameters[plain]; refused && !(plain == "n" && value == nil) {
			return fmt.Errorf("%q cannot be set: %s", name, instead)
		}
		if nested, ok := value.(map[string]any); ok && slices.Contains(nestedParameters, plain) {
			if err := checkParameters(nested); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// parameterTokens is the most prompt tokens that parameters make, such as a schema of the reply or documents to read: as many as
// they have bytes.
func parameterTokens(parameters map[string]any) int {
	if len(parameters) == 0 {
		return 0
	}
	data, err := json.Marshal(parameters)
	if err != nil {
		return 0 // such settings are refused
	}
	return len(data)
}
