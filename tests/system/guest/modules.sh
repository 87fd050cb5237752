# Loads the modules that tools/guest-kernel chose, in their order.
for module in $(cat /modules/order); do
    insmod "/modules/$module.ko" || exit 1
done
