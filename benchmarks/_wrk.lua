-- Prints what bench_http.py reads: name=value lines.
function done(summary, latency, requests)
    local errors = summary.errors
    print("requests=" .. summary.requests)
    print("errors=" .. errors.connect + errors.read + errors.write + errors.status + errors.timeout)
    print("p50=" .. latency:percentile(50))
    print("p99=" .. latency:percentile(99))
    print("p999=" .. latency:percentile(99.9))
end
