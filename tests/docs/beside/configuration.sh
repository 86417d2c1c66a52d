ddhcp --print-config
