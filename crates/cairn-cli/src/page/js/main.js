headline();
waterfall();
removal();
files();
views();
layers();
growth();
sizes();
document.documentElement.dataset.ready = "true";
