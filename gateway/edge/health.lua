-- Answers grpc.health.v1.Health/Check: finds the service that a call asks about, for the routes.
-- Above this stand, compiled from gateway/edge/health.py: SERVICES, ANY, READY_PATH, READY_CLUSTER and PATIENCE.
-- It stands behind gateway/edge/arrival.lua: the body is here.

-- A framed HealthCheckRequest with a name that no service has.
local NOBODY = "\0\0\0\0\8\10\6nobody"

-- Returns the name in a framed HealthCheckRequest, or nothing where it is none of ours to read.
local function asked_about(body)
  local text = body and body:getBytes(0, body:length()) or ""
  if text:sub(1, 1) ~= "\0" then return end
  local message = text:sub(6)
  if message == "" then return "" end
  -- Field 1, of fewer than 128 bytes.
  if message:sub(1, 1) ~= "\10" or message:byte(2) ~= #message - 2 then return end
  return message:sub(3)
end

-- Tells whether each service has a process that is well, by the edge's own word for load balancers.
local function is_ready(handle)
  local question = {[":method"] = "GET", [":path"] = READY_PATH, [":authority"] = "edge"}
  return handle:httpCall(READY_CLUSTER, question, "", PATIENCE)[":status"] == "200"
end

function envoy_on_request(handle)
  local body = handle:body()
  local name = asked_about(body)
  if not name then return handle:respond({[":status"] = "400"}, "") end
  if name == "" and not is_ready(handle) then return handle:respond({[":status"] = "503"}, "") end
  -- What is not shown to people does not exist for them: any service says so of a name that nobody has.
  if name ~= "" and not SERVICES[name] then body:setBytes(NOBODY) end
  handle:streamInfo():dynamicMetadata():set("commerce", "asked", SERVICES[name] or ANY)
  handle:clearRouteCache()
end
