-- Work for a just-in-time compiler whose code is thrown away again and again: traces are made, run, flushed, and made
-- anew over the old ones. Prints one checksum, the same on any machine.
local bit, ffi = require('bit'), require('ffi')
local rounds = tonumber(arg and arg[1]) or 20
local sum = 1

local function mix(v)
    sum = bit.tobit(bit.bxor(bit.rol(sum, 5), v) * 9 + 1)
end

local function sieve(n)
    local composite, count = ffi.new('uint8_t[?]', n + 1), 0
    for i = 2, n do
        if composite[i] == 0 then
            count = count + 1
            for k = i + i, n, i do composite[k] = 1 end
        end
    end
    return count
end

local function mandelbrot(size)
    local inside = 0
    for y = 0, size - 1 do
        for x = 0, size - 1 do
            local cr, ci, zr, zi, n = x / size * 3 - 2, y / size * 2 - 1, 0, 0, 0
            while n < 40 and zr * zr + zi * zi < 4 do
                zr, zi = zr * zr - zi * zi + cr, 2 * zr * zi + ci
                n = n + 1
            end
            inside = inside + n
        end
    end
    return inside
end

local function words(n)
    local t, hash = {}, 0
    for i = 1, n do t[i] = string.format('%d:%x', i * 7919 % 1000, i) end
    table.sort(t)
    for i, w in ipairs(t) do hash = bit.tobit(hash * 31 + #w * i + w:byte(-1)) end
    return hash
end

-- New code each time: functions from source.
local function made(n)
    local total = 0
    for i = 1, n do
        local f = assert(loadstring(string.format('local s = 0 for k = 1, 200 do s = (s * %d + k) %% %d end return s', i % 13 + 2, i + 1000)))
        total = total + f()
    end
    return total
end

for round = 1, rounds do
    mix(sieve(3000 + round))
    mix(mandelbrot(24))
    mix(words(200))
    mix(made(40))
    jit.flush()
end
print(string.format('%08x', bit.band(sum, 0x7fffffff)))
