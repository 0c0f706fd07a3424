-- One load of wrk: a method, a path, whether a connection is for one request alone; and what came of it, as JSON.
function init(args)
  local path, once = args[1], args[2] == "once"
  wrk.path = path
  if once then wrk.headers["Connection"] = "close" end
  if path == "/echo" then
    wrk.method = "POST"
    wrk.body = string.rep("x", 16384)
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"seconds":%f,"requests":%d,"failed":%d,"statuses":%d,"p50":%f,"p99":%f,"p999":%f,"max":%f}\n',
    summary.duration / 1e6, summary.requests, errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
