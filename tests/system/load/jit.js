// As jit.lua, for a compiler with several tiers that rewrites its own code. Prints one checksum.
'use strict';
const rounds = Number(process.argv[2]) || 5;
let sum = 1;

function mix(v) {
    sum = (Math.imul(sum, 31) + (v | 0)) | 0;
}

function sieve(n) {
    const composite = new Uint8Array(n + 1);
    let count = 0;
    for (let i = 2; i <= n; i++) {
        if (composite[i]) continue;
        count++;
        for (let k = i + i; k <= n; k += i) composite[k] = 1;
    }
    return count;
}

function objects(n) {
    const list = [];
    for (let i = 0; i < n; i++) list.push(i % 3 ? { a: i, b: i * 2 } : { b: i, c: String(i) });
    return list.map((o) => (o.a || 0) + o.b).sort((x, y) => x - y).reduce((s, v, i) => (s * 7 + v * i) % 1000003, 0);
}

function made(n) {
    let total = 0;
    for (let i = 0; i < n; i++) {
        const f = new Function('x', `let s = x; for (let k = 0; k < 3000; k++) s = (s * ${i % 11 + 3} + k) % ${i + 997}; return s;`);
        total += f(i);
    }
    return total;
}

for (let round = 1; round <= rounds; round++) {
    mix(sieve(20000 + round));
    mix(objects(3000));
    mix(made(50));
    mix(JSON.stringify(JSON.parse(JSON.stringify([...Array(500).keys()]))).length);
}
console.log((sum >>> 0).toString(16));
