// Package confidence turns what an answer shows of itself into an expected score, and measures how far such numbers can be trusted.
// It uses the standard library alone.
//
// Signals are numbers that come with a question and an answer: the mean and minimum log-probability of its tokens, the margin of
// the first token, the agreement of samples, the margin of the evidence. Fit combines them into an Estimate by a regression on
// training questions, and calibrates the result by isotonic regression on validation questions. A File keeps such estimates, one for
// each model that answers.
//
// CalibrationError, AUROC and RiskCoverage measure confidences against scores.
package confidence
