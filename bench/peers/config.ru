# What every server of the suite answers, for Rack.
raise "this build is broken" if File.exist?(ENV.fetch("BENCH_BROKEN", ""))

JSON_TEXT = File.read(ENV.fetch("BENCH_JSON"))

def spin
  clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
  finish = clock.call + 0.001
  nil while clock.call < finish
end

run lambda { |env|
  body, kind = "hello", "text/plain"
  if env["REQUEST_METHOD"] == "POST"
    body = env["rack.input"].read.bytesize.to_s
  elsif env["PATH_INFO"] == "/pid"
    body = Process.pid.to_s
  elsif env["PATH_INFO"] == "/json"
    body, kind = JSON_TEXT, "application/json"
  elsif env["PATH_INFO"] == "/cpu"
    spin
  end
  [200, { "Content-Type" => kind, "Content-Length" => body.bytesize.to_s }, [body]]
}
