-- What stands in the query of a target, and how a request is refused for what it says.

-- One name for `page_size` and `pageSize`.
local function plain_name(name)
  return (name:gsub("_", ""):lower())
end

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

-- Returns the values of a query by plain name, and the first name that is there twice though `lists`, by plain
-- name too, does not let it.
local function parameters(target, lists)
  local values, twice = {}, nil
  local mark = target:find("?", 1, true)
  if not mark then return values end
  for name, value in target:sub(mark + 1):gmatch("([^&=]+)=?([^&]*)") do
    local plain = plain_name(unescaped(name))
    if values[plain] and not lists[plain] then twice = twice or name end
    values[plain] = value
  end
  return values, twice
end

-- Answers 400 with what gateway/edge/refusals.py makes of this: {message, field, reason, description}, or
-- {message, position}.
local function refuse_as(handle, refusal)
  handle:streamInfo():dynamicMetadata():set("commerce", "refused", refusal)
  handle:respond({[":status"] = "400"}, "")
end

local function refusal_of(field, reason, description)
  return {field = field, reason = reason, description = description, message = field .. ": " .. description}
end
