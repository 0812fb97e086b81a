//go:build !goexperiment.simd || !amd64

package router

func (a adamStep) eights(w, g, first, second []float32) int { return 0 }

func squareEights(x []float32, lanes *[8]float32) int { return 0 }

func addEights(x, y []float32) int { return 0 }
