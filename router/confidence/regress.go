package confidence

import "math"

// regress returns the weights [d] that minimise Σ loss(row·w, target) + penalty/2·Σ w², the first weight, of the constant 1,
// without penalty. rows is [n, d]. The logistic loss is minimised by Newton's method with step halving.
func regress(rows [][]float64, targets []float64, loss Loss, penalty float64) []float64 {
	w := make([]float64, len(rows[0]))
	before := objective(rows, targets, w, loss, penalty)
	for range 100 {
		step := newton(rows, targets, w, loss, penalty)
		size, next := 0.0, before
		for half := 1.0; half > 1e-6; half /= 2 {
			trial := make([]float64, len(w))
			for i := range w {
				trial[i] = w[i] - half*step[i]
			}
			if next = objective(rows, targets, trial, loss, penalty); next <= before {
				w, size = trial, half
				break
			}
		}
		if size == 0 || before-next <= 1e-12*(1+math.Abs(before)) {
			break
		}
		before = next
	}
	return w
}

func objective(rows [][]float64, targets, w []float64, loss Loss, penalty float64) float64 {
	sum := 0.0
	for i, row := range rows {
		z := dot(row, w)
		if loss == Logistic {
			sum += math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))) - targets[i]*z
		} else {
			sum += (z - targets[i]) * (z - targets[i]) / 2
		}
	}
	for _, x := range w[1:] {
		sum += penalty * x * x / 2
	}
	return sum
}

// newton is the step H⁻¹·g at w.
func newton(rows [][]float64, targets, w []float64, loss Loss, penalty float64) []float64 {
	d := len(w)
	g, h := make([]float64, d), make([][]float64, d)
	for a := range h {
		h[a] = make([]float64, d)
		h[a][a] = 1e-9 // so that it can be inverted where all targets are equal
		if a > 0 {
			g[a], h[a][a] = penalty*w[a], penalty
		}
	}
	for i, row := range rows {
		z := dot(row, w)
		slope, curvature := z-targets[i], 1.0
		if loss == Logistic {
			p := 1 / (1 + math.Exp(-z))
			slope, curvature = p-targets[i], p*(1-p)
		}
		for a := range d {
			g[a] += slope * row[a]
			for b := range a + 1 {
				h[a][b] += curvature * row[a] * row[b]
			}
		}
	}
	return solve(h, g)
}

// solve solves H·x = g for a positive definite H, of which it reads and overwrites the lower triangle, by Cholesky's factorisation.
func solve(h [][]float64, g []float64) []float64 {
	n := len(g)
	x := make([]float64, n)
	for i := range n {
		for j := range i + 1 {
			sum := h[i][j]
			for k := range j {
				sum -= h[i][k] * h[j][k]
			}
			if i == j {
				h[i][i] = math.Sqrt(math.Max(sum, 1e-12))
			} else {
				h[i][j] = sum / h[j][j]
			}
		}
		x[i] = (g[i] - dot(h[i][:i], x[:i])) / h[i][i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			x[i] -= h[k][i] * x[k]
		}
		x[i] /= h[i][i]
	}
	return x
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
