// Package offline trains routers from measured episodes, without asking any question again.
//
// A Gaussian process (see GaussianProcess) predicts what each combination of tiers would have scored and cost for each
// measured question; Learn corrects the predictions by what was measured and maximises the expected return of the network's
// policy exactly. EstimateCombinations, Learnable and Predictor use the same predictions for static assignments, for
// what there is to learn at all, and for replaying what was not measured.
package offline
