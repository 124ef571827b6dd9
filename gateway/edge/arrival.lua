-- Waits for the whole body of a call before it goes to its service.
-- Above this stand, compiled from gateway/edge/arrival.py: SECONDS, CODES, REFUSALS and DETAILS, and
-- gateway/edge/bodies.lua.
-- Where this fails, the call has no way to its service (gateway/edge/routes.py).

-- How the answer may be kept, if it is a success, is noted apart: it is none yet. What is public to everyone
-- may be more to who shows a token, and newer to who names a write: no cache that others share keeps that.
local function mark_arrived(handle)
  local noted, rules = handle:streamInfo():dynamicMetadata(), handle:filterContext()
  local cache = rules:get("cache")
  noted:set("commerce", "arrived", true)
  noted:set("commerce", "told", rules:get("told"))
  if not cache then return end
  local headers = handle:headers()
  local is_own = headers:get("authorization") or headers:get("x-written")
  if is_own and cache:sub(1, 7) == "public," then cache = "private, no-cache" end
  noted:set("commerce.success", "cache", cache)
end

-- Waits, and returns the HTTP status to refuse a request with, or nothing.
local function await(handle, largest)
  local body, status = whole_body(handle)
  if status then return status end
  if body and body:length() > largest then return "413" end
  mark_arrived(handle)
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local rules = handle:filterContext()
  if rules:get("streams") then return mark_arrived(handle) end
  local status = await(handle, rules:get("largest"))
  if status == "429" then
    handle:respond({[":status"] = status, ["retry-after"] = tostring(SECONDS)}, "")
  elseif status then
    handle:respond({[":status"] = status}, "")
  end
end

-- Gives details to an answer of a service's gRPC library, which has none. A deadline is one such: the
-- library's clock and ours may ring at the same moment.
local function complete(ending, details, request)
  if ending:get("grpc-status-details-bin") then return end
  ending:add("grpc-status-details-bin", details .. (request and request.info or ""))
end

-- Notes how a call ended, for the access log, and for the headers of REST the etag of its answer, which
-- transaction wrote it and how it may be kept, or when to come back. Nearer to the caller, gRPC-Web and REST
-- write the end in ways of their own.
function envoy_on_response(handle)
  local ending, noted = handle:headers(), handle:streamInfo():dynamicMetadata()
  -- Nothing is noted of a call that ended before any script saw it.
  local call, code = noted:get("commerce") or {}, ending:get("grpc-status")
  if not code then
    -- The edge itself answers, as a whole: there is no end to wait for.
    if not call.arrived then return end
    ending = handle:trailers()
    noted = handle:streamInfo():dynamicMetadata()
    code = ending and ending:get("grpc-status")
    -- The edge refuses, perhaps to pass on what a service has said. What it keeps says itself for how long.
    if not code then return noted:set("commerce", "cache", "no-store") end
  end
  noted:set("commerce", "grpc_status", CODES[code] or code)
  local etag = ending:get("etag")
  if etag then noted:set("commerce", "etag", etag) end
  local written = ending:get("x-written")
  if written then noted:set("commerce", "written", written) end
  if code == "0" then
    local success = noted:get("commerce.success")
    if success then noted:set("commerce", "cache", success.cache) end
    return
  end
  local wait = ending:get("retry-after")
  if wait then noted:set("commerce", "retry_after", wait) end
  local challenge = ending:get("www-authenticate")
  if challenge then noted:set("commerce", "challenge", challenge) end
  if DETAILS[code] then complete(ending, DETAILS[code], call.request) end
  -- A call that has not arrived was refused by the edge, and has its line without this.
  if call.arrived and REFUSALS[code] then noted:set("commerce", "told", "refusals") end
end
