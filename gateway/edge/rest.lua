-- Makes of a REST request that writes what its caller means, before the transcoder.
-- Above this stand, compiled from gateway/edge/rest.py: RULES, by verb and path; and gateway/edge/bodies.lua,
-- query.lua and json_body.lua.

local LONGEST_ETAG = 64

local function noted_of(handle)
  return handle:streamInfo():dynamicMetadata()
end

local function escaped(text)
  return (text:gsub("[^%w]", function(char) return string.format("%%%02X", char:byte()) end))
end

-- Whether a string that was judged is left empty, or is null.
local function is_empty_at(text, at)
  return text:sub(at, at + 1) == '""' or text:sub(at, at + 3) == "null"
end

local function refuse_field(rule, spelled, reason, description)
  error(refusal_of(rule.within .. "." .. spelled, reason, description))
end

-- Returns the field mask of the fields that stand in the body (RFC 7396), or nothing where none does.
local function implied_mask(rule, text, seen)
  -- A service compares one that does not change with what there is, but sees no empty one.
  for name, spelled in pairs(rule.fixed) do
    if seen[name] and is_empty_at(text, seen[name]) then
      refuse_field(rule, spelled, "FIELD_IMMUTABLE", "cannot be changed")
    end
  end
  -- Many programs write null for what they do not mean; it would stand for false, and bring a barred account back.
  for name, spelled in pairs(rule.flags) do
    if seen[name] and text:sub(seen[name], seen[name] + 3) == "null" then
      refuse_field(rule, spelled, "VALUE_INVALID", "must be true or false; leave it out to change nothing")
    end
  end
  local mask = {}
  for _, name in ipairs(rule.changeable) do
    if seen[name] then mask[#mask + 1] = name end
  end
  if #mask > 0 then return table.concat(mask, ",") end
  for name, spelled in pairs(rule.owned) do
    if seen[name] then refuse_field(rule, spelled, "FIELD_NOT_UPDATABLE", "is set by the server") end
  end
end

-- Returns the UUID of an Idempotency-Key, which is a string of RFC 9651 and may come without its quotes.
local function key_of(header)
  local id = header:match('^"?([%x-]+)"?$')
  if not id or #id ~= 36 then error(refusal_of("Idempotency-Key", "VALUE_INVALID", "must be a UUID")) end
  return id
end

-- Returns the version that an If-Match asks for. A weak one is taken too: an etag names a version here, and
-- becomes weak where its answer is compressed.
local function version_of(header)
  local version = header:gsub("^W/", ""):match('^"?([^",%s]+)"?$')
  if not version or #version > LONGEST_ETAG then
    error(refusal_of("If-Match", "VALUE_INVALID", "must be one etag, such as \"5\""))
  end
  return version
end

-- Returns the parameter that a header stands for, or nothing where `given` says the same already.
local function parameter_for(header, name, wanted, given)
  if given == "" then return name .. "=" .. escaped(wanted) end
  if given:lower() ~= wanted:lower() then
    error(refusal_of(header, "VALUES_DIFFER", "is another than that of the request itself"))
  end
end

-- Returns the parameters to be added to a request's query, or fails with a refusal.
local function additions(handle, rule, text, seen)
  local headers, added = handle:headers(), {}
  local given = parameters(headers:get(":path"), {})
  if rule.changeable and (given.updatemask or "") == "" and not given["updatemask.paths"] then
    local mask = implied_mask(rule, text, seen)
    added[1] = mask and "update_mask=" .. mask
  end
  local key = rule.request_id and headers:get("idempotency-key")
  if key then
    local there = text_at(text, seen.request_id) or unescaped(given.requestid or "")
    added[#added + 1] = parameter_for("Idempotency-Key", rule.request_id, key_of(key), there)
  end
  local match = headers:get("if-match")
  if match and match ~= "*" then
    if not rule.etag then
      error(refusal_of("If-Match", "VALUE_INVALID", "asks for a version, and this method knows none"))
    end
    local there = text_at(text, seen.etag) or unescaped(given[plain_name(rule.etag)] or "")
    added[#added + 1] = parameter_for("If-Match", rule.etag, version_of(match), there)
    noted_of(handle):set("commerce", "if_match", true)
  end
  return added
end

local function complete(handle, rule, text)
  local seen = text ~= "" and rule.message and judge(text, rule.message, rule.within) or {}
  local added = additions(handle, rule, text, seen)
  if #added == 0 then return end
  local headers = handle:headers()
  local target = headers:get(":path")
  local mark = target:find("?", 1, true) and "&" or "?"
  headers:replace(":path", target .. mark .. table.concat(added, "&"))
end

-- Waits for a body and returns it as text, empty where there is none; or nothing and an HTTP status.
local function read_body(handle)
  local body, status = whole_body(handle)
  if status then return nil, status end
  -- gateway/edge/arrival.lua need not wait and count again.
  handle:headers():replace(WHOLE_HEADER, "0")
  return body and body:length() > 0 and body:getBytes(0, body:length()) or ""
end

-- Returns the HTTP status to refuse a request with, or nothing; or fails with a refusal.
local function write(handle)
  local rule, text, status = RULES[handle:filterContext():get("rule")], "", nil
  if rule.message then text, status = read_body(handle) end
  if status then return status end
  if rule.created then noted_of(handle):set("commerce", "created", rule.created) end
  complete(handle, rule, text)
end

function envoy_on_request(handle)
  -- It finds no way to a service: the transcoder leaves alone what says that it is gRPC.
  if (handle:headers():get("content-type") or ""):sub(1, 16) == "application/grpc" then return end
  -- Where a script fails, Envoy lets the request pass as it is.
  local is_done, status = pcall(write, handle)
  if is_done and status then
    handle:respond({[":status"] = status, ["retry-after"] = tostring(SECONDS)}, "")
  elseif not is_done and type(status) == "table" then
    refuse_as(handle, status)
  elseif not is_done then
    handle:logErr(status)
    handle:respond({[":status"] = "500"}, "")
  end
end

local function text_of_answer(handle)
  local body = handle:body()
  return body and body:getBytes(0, body:length()) or ""
end

-- Says where the resource is that a call has created: its id stands first in the answer.
local function tell_created(handle, created)
  local name, id = text_of_answer(handle):match('^{"(%w+)":"([%w_.-]+)"')
  if name ~= created.field then return end
  handle:headers():replace(":status", "201")
  handle:headers():replace("location", created.collection .. "/" .. id)
end

-- Says that a precondition of HTTP has failed, where one was given: over gRPC the same is ABORTED.
function envoy_on_response(handle)
  local status, noted = handle:headers():get(":status"), noted_of(handle):get("commerce")
  if not noted then return end
  if status == "200" and noted.created then return tell_created(handle, noted.created) end
  if status ~= "409" or not noted.if_match then return end
  if text_of_answer(handle):find('"ETAG_MISMATCH"', 1, true) then handle:headers():replace(":status", "412") end
end
