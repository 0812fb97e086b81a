// Package workers answers the questions of a run on several machines, over NATS JetStream.
//
// The coordinator is the process that was started with the run. It alone writes the run's folder, and the folder's journal is the
// truth: NATS only carries tasks and results, and may lose everything without losing an answer that the journal has. Workers open
// the same data and models, refuse a run whose settings differ from theirs, and answer one question after another.
//
// # Streams and buckets
//
//	BMEM_TASKS    a question with the policies it is to be asked under; gone once a worker has stored all its results
//	BMEM_RESULTS  a record for each question and policy; the first one counts, a second is refused
//	BMEM_DEAD     notices of tasks that were delivered too often, because their workers died
//	bmem_runs     what workers need to know of each run that is under way
//	bmem_workers  who is there; an entry ends with its worker
//	bmem_replies  replies of models, by their key in the cache; the first one counts
//	bmem_claims   which calls are being made; a claim ends with its worker
//	bmem_spend    the spend limit of a run and who holds how much of it
//
// # Failures
//
// A worker that dies loses its tasks to another after Lease. A call that it had in flight may be paid for twice; nothing else is. A
// coordinator that is started again takes up the results that came meanwhile. While the server is away, everyone waits.
package workers
