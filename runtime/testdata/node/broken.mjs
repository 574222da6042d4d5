function deep() { throw new RangeError('while importing'); }
deep();
