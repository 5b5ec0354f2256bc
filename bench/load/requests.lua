-- For wrk: cycles through the requests of a file. Each line has a path, a token or -, and an address, separated by tabs.
local requests = {}
local at = 0

function init(args)
  for line in io.lines(args[1]) do
    local path, token, address = line:match("([^\t]+)\t([^\t]+)\t([^\t]+)")
    local headers = { ["Host"] = wrk.headers["Host"], ["X-Forwarded-For"] = address, ["X-Forwarded-Proto"] = "https" }
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
