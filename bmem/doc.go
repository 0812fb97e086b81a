// Package bmem is a memory for agents that treats compute as money: add a long history once, then ask questions of it,
// and choose for each question how much extraction it is worth.
//
// # Basics
//
// A [Memory] is one file with any number of named histories. [Memory.Add] cuts a history into chunks and embeds them;
// [Memory.Ask] answers a question from it:
//
//	mem, err := bmem.Open(ctx, bmem.Options{Path: "memory.db", Embedder: e, Tokenizer: e, Client: model})
//	_, err = mem.Add(ctx, "chat", turns)
//	answer, err := mem.Ask(ctx, "When did Ann move?", bmem.WithMemory("chat"), bmem.WithTiers("mid"))
//
// A question retrieves a few chunks and sends them through five modules: filter, then entity, temporal and topic side by
// side, then summary. The answer is written from the summary alone. Each module runs at a tier, from cheap rules to calls of
// a language model. A policy chooses the tiers: fixed ones ([WithTiers]) or a trained router ([WithPolicy]). The [Trace] of
// an [Answer] says which tier each module ran at, what served in its place and why, and what it cost in tokens, dollars and
// milliseconds.
//
// Package setup, below this one, makes a Memory from names of models, and package quick asks in two lines.
//
// # Budgets
//
// [WithMaxCost] limits what the calls of one question may cost together, in dollars. The limit is never passed. Before a
// module runs, the worst case of finishing with the lowest tiers is set aside, and the module runs at the highest tier, up to
// the one that the policy chose, whose own worst case fits into the rest. A question that cannot be answered within its limit
// fails with a [MaxCostError] before anything is spent on it, and the error says what would be enough. The models must be
// made by llm.Stack, which knows their prices. Embedding is not part of the limit.
//
// # Caveats
//
//   - A history only grows: turns are added at its end, and the same id with another content is an error.
//   - Questions see the history as it was when they began. Add and Ask may run at the same time.
//   - Vectors belong to one embedder, and a trained router to the embedder that it was trained with.
//   - The rules of the cheaper tiers, and the embedder on this machine, are made for English. Words of other languages are
//     found too: see the Language of a Trace, and its Limits.
//   - Pictures and files inside a turn's text are replaced by a note of their type and size.
package bmem
