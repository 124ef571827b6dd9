-- Answers public reads from what was answered before, for as long as the contract lets everyone keep it.
-- Above this stand gateway/edge/request_headers.lua, the first look, and, compiled from gateway/edge/kept.py:
-- METHODS, GENERATION_ENTRIES, GENERATION_BYTES, ENTRY_BYTES, LARGEST_BYTES, LONGEST_KEY, FRESH_PERCENT and
-- CLAIM_MILLISECONDS.
-- Where this fails, the call is judged and goes on to its service as if nothing were kept.

-- Each thread of Envoy has tables of its own on each listener: none waits for another, and each asks anew by
-- itself. What was not used since the generation before is forgotten with it: about the order of use, without
-- a list of it.
local young, old, entries, bytes = {}, {}, 0, 0

local function put(key, entry)
  local replaced = young[key]
  if replaced then entries, bytes = entries - 1, bytes - replaced.size end
  if entries + 1 > GENERATION_ENTRIES or bytes + entry.size > GENERATION_BYTES then
    old, young, entries, bytes = young, {}, 0, 0
  end
  old[key] = nil
  young[key], entries, bytes = entry, entries + 1, bytes + entry.size
end

local function find(key)
  local entry = young[key] or old[key]
  if entry and not young[key] then put(key, entry) end
  return entry
end

-- Returns what the answer to a target is kept under, or nothing where that is not certain: a field that the
-- request has not, or that stands there twice. The order of the fields and how they are spelled make no
-- difference.
local function key_of(target, fields)
  if #target > LONGEST_KEY then return end
  local path, query = target:match("^([^?]*)%??(.*)$")
  if query == "" then return path end
  local seen, parts = {}, {}
  for part in (query .. "&"):gmatch("([^&]*)&") do
    local name, value = part:match("^([^=]*)=(.*)$")
    local field = fields[name or ""]
    if not field or seen[field] then return end
    seen[field] = true
    parts[#parts + 1] = field .. "=" .. value
  end
  table.sort(parts)
  return path .. "?" .. table.concat(parts, "&")
end

-- Tells whether an entry answers a call. Shortly before its end one call asks anew, and the others still get
-- it; if that one gets no answer to keep, another asks.
local function is_good(entry, now)
  local age = now - entry.asked
  if age < 0 or age >= entry.lifetime then return false end
  if 100 * age < entry.lifetime * FRESH_PERCENT then return true end
  if now - entry.claimed < CLAIM_MILLISECONDS then return true end
  entry.claimed = now
  return false
end

-- Who shows a token may be answered in another way than everyone, and sees at once what they wrote, as does
-- who names a write; and what a body says is not in the key. What the first look would refuse for a header
-- goes to it; how large all are together is bounded for the services, which do not see them here.
local function is_everyones(headers)
  if headers:get("authorization") or names_write(headers:get("x-written") or "") then return end
  if headers:get("content-encoding") or not headers:get(WHOLE_HEADER) then return end
  local kind = headers:get("content-type")
  return not kind or kind:sub(1, #MESSAGE) ~= MESSAGE
end

-- Returns the entry that answers a call; else notes under what its answer may be kept.
local function find_answer(handle, headers, route)
  local method = route:get("method")
  if not method or not is_everyones(headers) then return end
  local key, now = key_of(headers:get(":path"), METHODS[method].fields), handle:timestamp()
  if not key then return end
  local entry = find(key)
  if entry and is_good(entry, now) then return entry, now end
  handle:stats():counter("kept.misses"):inc()
  handle:streamInfo():dynamicMetadata():set("commerce.kept", "asked", {method = method, key = key, at = now})
end

local function answer(handle)
  local headers, route = handle:headers(), handle:filterContext()
  local entry, now = find_answer(handle, headers, route)
  if not entry then return end
  handle:stats():counter("kept.hits"):inc()
  name_call(headers)
  handle:streamInfo():dynamicMetadata():set("commerce", "request", {path = route:get("path"), kept = true})
  entry.headers.age = tostring(math.floor((now - entry.asked) / 1000))
  return entry
end

-- What is kept was judged when it was asked for, in the same words: it needs no look but for what may be
-- another's.
local first_look = envoy_on_request

function envoy_on_request(handle)
  local is_done, entry = pcall(answer, handle)
  if not is_done or not entry then return first_look(handle) end
  handle:respond(entry.headers, entry.body)
end

-- Returns the headers that are kept of an answer, and its length; or nothing where it may not be kept.
local function keepable(headers)
  local control, length = headers:get("cache-control"), tonumber(headers:get("content-length") or "")
  if headers:get(":status") ~= "200" or not control or control:sub(1, 7) ~= "public," then return end
  if headers:get("content-type") ~= "application/json" or not length or length > LARGEST_BYTES then return end
  local kept = {[":status"] = "200", ["content-type"] = "application/json", ["cache-control"] = control}
  kept.etag = headers:get("etag")
  return kept, length
end

-- Returns the body, or nothing where it is not whole. No object of the answer outlives a chunk.
local function read(handle, length)
  local chunks, read_bytes = {}, 0
  for chunk in handle:bodyChunks() do
    read_bytes = read_bytes + chunk:length()
    if read_bytes > length then return end
    chunks[#chunks + 1] = chunk:getBytes(0, chunk:length())
  end
  if read_bytes == length then return table.concat(chunks) end
end

-- An answer is as old as the call that asked for it: what it tells was read after that.
function envoy_on_response(handle)
  local noted = handle:streamInfo():dynamicMetadata():get("commerce.kept")
  local asked = noted and noted.asked
  if not asked then return end
  local headers, length = keepable(handle:headers())
  local body = headers and read(handle, length)
  if not body then return end
  put(asked.key, {
    headers = headers,
    body = body,
    asked = asked.at,
    claimed = 0,
    lifetime = METHODS[asked.method].milliseconds,
    size = #asked.key + length + ENTRY_BYTES,
  })
end
